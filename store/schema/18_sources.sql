ALTER TABLE signals ADD COLUMN source VARCHAR;  -- who or what said so: a person, a file of grades, an evaluator
ALTER TABLE imports ADD COLUMN format VARCHAR;  -- how the file was read; NULL where it was imported before formats had names
