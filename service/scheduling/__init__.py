"""What work costs, whether it can be done in time, in which order, and what those are told who must come back.

    estimate    measured over expected -> a robust, bounded correction and how far it may be off
    price       what a clip's container says -> seconds of decoding
    policy      pure functions: order, waits, who becomes late, how many may run
    promises    who was told to come back when, so that room is there when he does
    standing    whose work comes last, since most of it was for nobody
    work        one accepted request's work, and who waits for it
    bounds      how many requests may be in flight at all
    backlog     what is accepted and not yet done; says yes, no, or when
    coalescing  equal requests in flight -> one piece of work

Nothing here reads media, speaks HTTP or starts a process.
"""
