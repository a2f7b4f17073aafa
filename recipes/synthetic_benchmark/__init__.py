"""A benchmark with known answers: small synthetic tasks on which it is clear which method should win, and why.

    draws      seeds -> rows with regular and privileged features, and the teacher's corruption
    learners   linear students and teachers of many seeds at once, under the registry's own losses
    studies    what is compared on which draws, and what is expected
    verdicts   paired differences over seeds -> intervals and words
    benchmark  all studies -> one document
    table      the document as Markdown

S seeds, N rows, D regular features, P privileged features, M held-out rows
"""
