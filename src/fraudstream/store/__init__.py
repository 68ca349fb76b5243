"""PostgreSQL: what is stored, how it gets there exactly once, and every question that is asked of it.

Reaching it
  connection      connections, and errors in our words
  held            one connection for each process of an executor
  rows            rows as objects
  copy            Arrow tables by COPY
  tables          the tables of the schema `shop`; migrate brings it up to date
  roles           rights for those who read, review, train and write

The sink, inside the transaction of a slice
  slices          one Kafka partition's slice of a micro-batch
  offsets         the one number that makes the stream exactly once
  targets         what the messages of a topic are stored as; intake takes them in
  profiles        transactions folded into `shop.profiles`; label_folding does it for labels that become known
  scores          decisions and alerts; known_models gives their reasons
  hourly          rows and money by the hour; latency counts how long decisions took
  rejected        messages that could not be read

What people read and say
  alerts          flagged transactions; alert_feed follows new ones, review is their queue
  labels          what people said; label_files reads them from files
  history         a customer's payments around a moment; hindsight is what they know better than the profile
  explanation     everything that is known of one transaction
  overview        the stream from far away; glance is a running stream in one look
  pipeline        the streams themselves
  model_quality   a model at work; drift says whether its risks still are those of training
  health          the figures of `fraudstream health`; findings is what they mean
  progress        where each running stream stands

Training and operation
  training_rows   stored transactions and what people said of them, as Arrow tables
  snapshot        profiles as of one moment
  registry        the models
  forget          a customer, or what is older than a day, out of every table
"""
