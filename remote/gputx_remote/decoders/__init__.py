"""Models behind one port (``decoder.py``): transformers, torch of our own, CTranslate2.

Nothing in here knows of files, plans or quality; nothing outside imports torch, transformers or ctranslate2.
"""
