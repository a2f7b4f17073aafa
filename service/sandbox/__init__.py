"""What a decode worker may still do once hostile bytes reach it: compute, read the clip it was handed, and answer.

protections   what there is to have, and what an operator may leave out or insist on
slot          the memory shared with the service, whose size nobody can change
confine       every protection in its order; which of them the kernel gave
kernel        the system calls behind it that Python does not offer
landlock      the kernel's own rules on files, addresses and signals, where it has them
syscalls      names of system calls -> their numbers on x86-64 and aarch64
policy        which calls a worker may make
seccomp       that policy as a filter which the kernel runs on every call
rehearsal     a clip of our own, decoded before and behind the filter
report        what a worker runs without, told once in the log and shown in the metrics
"""
