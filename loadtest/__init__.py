"""Load tests of a running service: a client that knows its HTTP interface and nothing of its insides.

objectives, shapes, run_file   what a run is asked: bounds, rates over time, and all of it as one file
traffic      what is sent, and when each request is due        target   the service under test, by HTTP
measurement  what was recorded, and the figures of it          verdict  figures against objectives
generator    sends inside Locust (locustfile.py loads it)      report   page, JSON and JUnit
run          one run from start to files                       __main__ python -m loadtest demo | run | corpus
"""
