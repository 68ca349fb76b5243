"""Why a transaction was flagged, in sentences that a fraud analyst would write.

contributions  the exact contribution of each feature to a model's output, from its trees
explainer      the reasons of a decision: its rules, and the strongest notable features
payment        the payment that sentences are about, with its customer's profile
notable        which values are worth mentioning
sentences      a sentence for each feature
amounts        sentences about amounts
telling        the parts of a sentence
phrases        numbers, names and time spans in words
"""
