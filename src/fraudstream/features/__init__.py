"""Profiles of users, devices, places and merchants, and the features of models.

catalogue      which counters each entity keeps: table columns and merge SQL derive from it
counters       the mathematics of decayed counters
events         a table of transactions as arrays, with the keys of entities
profiles       folding transactions and labels into rows of `shop.profiles`
operations     what an expression may use, both in numpy and in Spark
feature        what a feature is
expressions    formulas that several features share
definitions    every feature, defined once
context        what a decision carries so that its reasons can be told
training       the point-in-time view that models learn from
memory         the same for transactions as they arrive, with profiles in memory
joined         the features of rows joined with stored profiles, in numpy
"""
