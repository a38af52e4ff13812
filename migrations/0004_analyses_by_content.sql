-- Which files are analysed is asked for whole catalogues, and a row of this table is kilobytes: the index answers alone.
DROP INDEX analyses_by_track;
CREATE INDEX analyses_by_track ON analyses (track_id, extractor_id, sha256);
