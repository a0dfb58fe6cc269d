"""From files to arrays: decoding (`media`), the decode-once cache (`cache`), batches for training (`loader`)."""
