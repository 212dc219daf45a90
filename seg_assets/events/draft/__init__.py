"""Draft a source YAML from files that nobody has described: `seg-assets source draft`.

Files are looked at (`container`), their layout is recognised (`layouts`) or their columns are taken by name and values
(`names`, `values`, `arithmetic`, `propose`), and the draft is written (`writing`) and tried (`proof`). No file is ever
read whole unless somebody asks for that.

Not here: how a source is read (`events.reader`), and what may stand in one (`events.source`).
"""
