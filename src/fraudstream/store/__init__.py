"""PostgreSQL: what is stored, how it gets there exactly once, and all queries of it.

Reaching it
  connection      connections to PostgreSQL; failures is what its errors mean, libpq what they must not heed
  held            one connection for each process of an executor
  rows            rows as objects
  copy            Arrow tables by COPY
  tables          the tables of the schema `shop`; migrate looks whether they are up to date, else upgrade makes them
  roles           rights for those who read, review, train and write

The sink, inside the transaction of a slice
  slices          one Kafka partition's slice of a micro-batch
  offsets         the next offset per partition, which makes the stream exactly once
  resumption      where a stream resumes, checked against what Kafka still has
  targets         what the messages of a topic are stored as; intake decodes and writes them
  profiles        transactions folded into `shop.profiles`; label_folding does it for labels that become known
  scores          decisions and alerts; known_models gives their reasons
  hourly          rows and money per hour; latency counts how long decisions took; sums is what both merge
  rejected        messages that could not be read

What people read and write
  alerts          flagged transactions; alert_feed follows new ones, review is their queue
  labels          verdicts of people; label_files reads them from files
  history         a customer's payments around a time; hindsight finds those that the profile lacked
  explanation     everything known about one transaction
  overview        totals and charts of the stream; glance summarises a running stream
  pipeline        the state of the streams
  model_quality   a model's live performance; drift compares its risks with those in training
  health          the figures of `fraudstream health`; findings interprets them
  progress        the position of each running stream

Training and operation
  training_rows   stored transactions and their labels, as Arrow tables
  snapshot        profiles at one point in time
  registry        the models
  forget          deletes a customer, or all older data, from every table
"""
