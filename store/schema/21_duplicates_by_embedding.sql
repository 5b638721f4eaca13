-- What an embedding model says is a repetition, though the words are others, is one too where the settings say so.
ALTER TABLE candidates ADD COLUMN duplicate_model VARCHAR;  -- whose cosine `similarity` is; NULL: it is that of the texts
