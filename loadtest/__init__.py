"""Load tests of a running service: a client that knows its HTTP interface and nothing of its insides.

corpus    clips to send, well-formed and hostile       mix        what to send next
shapes    how much to send when                        arrivals   open loop: when each request is due
exchange  one request over HTTP, retried as a load balancer would; outcomes  what the answer counts as
users     both inside Locust (locustfile.py)           generator  whether this client was the limit
summary   samples -> figures by stage and arm          objectives figures -> verdict
report    one HTML page, JSON, JUnit                   __main__   python -m loadtest demo | run | corpus
"""
