"""Made logs to practise on, and the proof that the statistics keep their promises.

made_log -> a folder as the service writes it
streams  -> studies -> document: A/A, planted faults and effects, coverage
"""
