"""Models: trained offline, evaluated on later transactions, stored as files, scored the same way everywhere.

From transactions to a model
  tables          transactions from a file; files reads raw columns, columns gives them types
  dataset         transactions with features and truth, in order of time
  folds           which rows a model learns from, and on which it is tested
  candidates      the estimators to choose from; algorithms implements them
  choice          selects the candidate that becomes the model; coverage: whether labels represent all traffic
  training        select, evaluate, refit, set the threshold
  evaluation      evaluates training on later rows, next to two baselines; finished evaluates an existing model
  versus          a new model against the champion, on payments that neither has learned from
  metrics         the usual metrics of fraud detection
  reporting       an evaluation as one document; curve draws it, figures names its figures
  insight         importance and dependence of features

A model
  artifact        a model's files and checksums; folder writes them, packing makes them one value
  manifest        what a model says of itself, read and checked
  trees           ensembles as plain tables; extract creates them
  risk            what an estimator returned, checked

Decisions without a stream
  scoring         the trees in numpy, the profiles in memory
  lines           NDJSON from a pipe
  decisions       writes decisions to streams and files
"""
