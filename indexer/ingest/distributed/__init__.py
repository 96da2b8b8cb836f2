"""Distributed ingest: the workers of a Ray cluster decode and embed.

    this machine                          a worker (an actor: one per GPU, or a share of the cores)
    scan, compare with the catalog  ──▶   read, hash, decode in threads ahead of the model,
    reconcile, write, thumbnails    ◀──   embed what the store does not have

What travels is small: paths to a worker; payloads, a thumbnail and vectors back. Decoded images
never leave the process that embeds them. Only the coordinator writes, to the store and to the
catalog, so no two processes can overwrite each other's points.

This uses Ray's actors and not Ray Data, which does not work through `ray://`
(https://github.com/ray-project/ray/issues/43357), restarts a file that kills its worker without
end, and would send every decoded image through the object store.

**What happens when something fails.**

- A worker dies before it answers: its files are given out again. They are embedded again, at most
  `MAX_IN_FLIGHT` batches of them.
- Two workers have copies of one file: both may embed it. The coordinator writes the first one, and
  merges the paths and captions of the second one.
- This machine dies: the next run continues where the catalog ends. What the store has is found
  there, and not embedded again.
- A point is deleted after a worker has found it in the store: the coordinator finds it missing, and
  decodes its file on this machine.
"""
