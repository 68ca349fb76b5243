"""Why a transaction was flagged, in sentences that a fraud analyst would write.

contributions  what each feature added to a model's output, exactly, over its trees
explainer      the reasons of a decision: the strongest of them that are notable, and its rules
payment        the payment that is spoken of, and what was remembered of its customer
notable        which values are worth a word
sentences      what is said of each feature
amounts        what is said of amounts
telling        what a sentence is made of
phrases        numbers, names and spans as people say them
"""
