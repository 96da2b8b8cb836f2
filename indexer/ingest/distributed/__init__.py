"""Many workers: an ingest whose costly middle runs on the machines of a Ray cluster.

    this machine                          a worker (an actor: one a GPU, or a share of the cores)
    walk, compare with the catalogue ──▶  read, hash, decode in threads ahead of the model,
    merge copies, thumbnails, catalogue ◀──  embed, write to the store what it does not have

What travels is small: paths there; facts, a thumbnail and a flag back. Decoded pictures never leave
the process that embeds them.

This stands on Ray's actors and not on Ray Data, which does not work through `ray://`
(https://github.com/ray-project/ray/issues/43357), starts a file that kills its worker again without
end, and would send every decoded picture through the object store.

**Once, in effect.** A point's id is its content's, the store is the truth, and the catalogue of
this machine keeps a file only after its points are acknowledged. What may happen meanwhile:

- A worker dies before it answers. What it had in hand is given out anew; points that it had written
  are found, and neither embedded nor written again.
- Two workers have copies of one file. The later one finds the point and leaves it as it is. Where
  both found nothing, both write the same vectors under one id; this machine then merges what their
  paths and captions say, as it does for every copy, and writes that anew where a copy's worker
  wrote after it (`Change.overwritten`).
- This machine dies. The next run goes on where the catalogue ends; what was in flight is decoded
  again, found in the store, and not embedded again.
- A content is deleted here (its last known file changed) while a worker has found it under a new
  path. The picture has no point then, and is prepared once more, here (`Writer.write`).
- Not closed: a worker that was cut off and given up, and whose write reaches the store later than
  the merge of a copy. The point is right then but for its other paths and their captions.
"""
