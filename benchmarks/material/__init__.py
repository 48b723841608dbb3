"""Test material made from seeds: Swedish speech whose every word has a known time, and sounds that are no speech.

Nothing is stored: espeak-ng speaks it again each time, the same samples for the same seed and version of espeak-ng.
"""
