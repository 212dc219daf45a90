"""What is computed of every day's segments: who is where, what each segment is, who moved and why.

Not here: fitting a model (`segments.fitting`), and deciding about one (`segments.decisions`).
"""
