"""Real devices of one machine: do they repeat themselves, and how do they differ?"""
