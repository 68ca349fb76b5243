"""Spark: the session, the consumer that stores, and the scorer that decides.

Every command
  command         a session for one command
  session         Spark's settings, workers those of its Python workers; scratch is what it keeps on disk
  source          Kafka as a stream of raw messages
  failures        what Spark's errors mean, and which are temporary
  recovery        how long a stream waits after one
  backoff         when what failed is tried again, and which failures are news
  progress        a running stream reports its position
  markers         Kafka's transaction markers after the last message

The consumer
  consume         a query for each topic; consumer drives one
  sink            a batch's tasks, and how they are started; daemon loads it once for all Python workers
  batches         how many messages a micro-batch may hold; narration logs what became of them
  stopping        the batch with which a query ends that is stopped

The scorer
  score           the command; scorer is the driver: starts and restarts queries; watch follows them
  succession      asks for newer profiles and has relay hand over
  relay           hands the stream from one query to the next; launcher starts one, live_query is one
  timing          how long a query decides, and when its successor starts
  mode            real time or micro-batches
  keeper          exchanges profiles, champion and offsets with PostgreSQL; silence is how long that has not answered
  first_job       the first job of a session, which may have to wait for a slot
  answers         counts and latencies of decisions, from the scored topic; settlement is how far they reach at a stop

What is computed
  messages        raw messages as columns; instants parses their times
  scoring         from messages to decisions, as DataFrames
  lookup          the same in Python, looking profiles up batch by batch
  features        the features of training, as Spark columns
  risk            the model's risk; trees writes ensembles for Spark, estimator runs one of your own
  rules           the operator's rules as columns; conditions checks them, by expression_tree, coercions what Spark silently
                  makes of them, and sql_errors what it says
  backtest        rules on stored history
"""
