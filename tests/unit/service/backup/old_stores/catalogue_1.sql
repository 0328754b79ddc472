-- catalogue.sqlite3 of format 1, as the program of that time wrote it (its `.dump`).
BEGIN TRANSACTION;
CREATE TABLE items (
    position INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    attributes TEXT NOT NULL,
    semantic BLOB NOT NULL,
    bundle_id TEXT NOT NULL
);
INSERT INTO "items" VALUES(1,'z','{"title":"Être","year":"1990"}',X'9A99993E0000C040','b1');
INSERT INTO "items" VALUES(2,'a','{"title":"Le \"Chat\""}',X'CDCC4C3E00008040','b2');
COMMIT;
PRAGMA user_version = 1;
