"""What is remembered of users, devices, places and merchants, and the features that models see.

catalogue      which counters each entity keeps: table columns and merge SQL derive from it
counters       the mathematics of decayed counters
profiles       folding transactions and labels into rows of `shop.profiles`
operations     what an expression may use, in numpy and in Spark alike
feature        what a feature is
expressions    formulas that several features share
definitions    every feature, defined once
context        what a decision carries so that its reasons can be told
training       the point-in-time view that models learn from
memory         the same for transactions as they come, with profiles in memory
joined         the features of rows beside stored profiles, in numpy
"""
