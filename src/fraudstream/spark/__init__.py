"""Spark: the session, the consumer that stores, and the scorer that decides.

Every command
  command         a session for one command, and the signals that end it
  session         Spark's settings; scratch is what it keeps on disk
  source          Kafka as a stream of raw messages
  recovery        which failures pass, and where a stream begins again
  progress        a running stream says how far it has come
  markers         what Kafka's transactions leave behind the last message

The consumer
  consume         a query for each topic; consumer drives one
  sink            the executors' side; daemon loads it once for all Python workers
  batches         how many messages a micro-batch may hold; narration says what became of them

The scorer
  score           the command; scorer is the driver: starts queries, watches them, starts again
  relay           hands the stream from one query to the next; live_query is one
  mode            real time or micro-batches
  keeper          the line to PostgreSQL: profiles, champion, offsets
  first_job       the first job of a session, told and ended while it waits for a slot
  answers         the scored topic as its readers see it

What is computed
  messages        raw messages as columns; instants reads their times
  scoring         from messages to decisions, as DataFrames
  lookup          the same batch by batch in Python, with profiles asked for
  features        the features of training, as Spark columns
  risk            the model's part; trees writes them for Spark, estimator runs one of your own
  rules           the operator's rules as columns; conditions checks them
  backtest        rules on stored history
"""
