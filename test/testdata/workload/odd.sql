-- A workload of what schemas go through: one statement group a paragraph, each
-- sent by itself. What is asked for is in TestFoldEqualsTableThroughDDL.

CREATE TABLE reborn (id int PRIMARY KEY, v text);
INSERT INTO reborn SELECT i, 'first life' FROM generate_series(1, 20) i;
DROP TABLE reborn;
CREATE TABLE reborn (id int, v text);
INSERT INTO reborn VALUES (1, 'second life'), (1, 'second life'), (1, NULL);
DELETE FROM reborn WHERE v IS NULL;

CREATE TABLE swap_a (id int PRIMARY KEY, v text);
CREATE TABLE swap_b (id int PRIMARY KEY, v text);
INSERT INTO swap_a VALUES (1, 'a'), (2, 'a');
INSERT INTO swap_b VALUES (1, 'b'), (3, 'b');

BEGIN;
ALTER TABLE swap_a RENAME TO swap_c;
ALTER TABLE swap_b RENAME TO swap_a;
ALTER TABLE swap_c RENAME TO swap_b;
UPDATE swap_a SET v = 'was b' WHERE id = 3;
UPDATE swap_b SET v = 'was a' WHERE id = 2;
COMMIT;

BEGIN;
CREATE TABLE undone (id int);
INSERT INTO undone VALUES (1);
SAVEPOINT s;
ALTER TABLE undone RENAME TO undone_too;
INSERT INTO undone_too VALUES (2);
ROLLBACK TO s;
INSERT INTO undone VALUES (3);
COMMIT;

CREATE SCHEMA moving;
CREATE TABLE moving.van AS SELECT i AS id, md5(i::text) AS load FROM generate_series(1, 50) i;
ALTER TABLE moving.van SET SCHEMA public;
ALTER SCHEMA moving RENAME TO moved;
CREATE TABLE moved.van (id int);
INSERT INTO moved.van VALUES (7);
DELETE FROM van WHERE id > 40;

CREATE TABLE parent (id int PRIMARY KEY, v text);
CREATE TABLE child (extra int) INHERITS (parent);
INSERT INTO parent VALUES (1, 'p');
INSERT INTO child VALUES (1, 'c', 5);
UPDATE parent SET v = v || '!';
SELECT * INTO chosen FROM parent;

CREATE TABLE part (id int, y int) PARTITION BY LIST (y);
CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_2 (y int, dropped int, id int);
ALTER TABLE part_2 DROP COLUMN dropped;
ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES IN (2);
INSERT INTO part SELECT i, 1 + i % 2 FROM generate_series(1, 30) i;
UPDATE part SET y = 3 - y WHERE id % 3 = 0;
ALTER TABLE part DETACH PARTITION part_2;
INSERT INTO part_2 (y, id) VALUES (9, 9);
TRUNCATE part;

CREATE TABLE emptied (id int PRIMARY KEY);
CREATE TABLE emptied_too (id int PRIMARY KEY, e int REFERENCES emptied);
INSERT INTO emptied VALUES (1);
INSERT INTO emptied_too VALUES (1, 1);
TRUNCATE emptied CASCADE;
INSERT INTO emptied VALUES (2);

CREATE TABLE cascades (id int PRIMARY KEY);
CREATE TABLE cascaded (id int PRIMARY KEY, c int DEFAULT -1 REFERENCES cascades ON DELETE CASCADE ON UPDATE CASCADE);
INSERT INTO cascades VALUES (1), (2);
INSERT INTO cascaded VALUES (10, 1), (20, 2);
UPDATE cascades SET id = 3 WHERE id = 2;
DELETE FROM cascades WHERE id = 1;

CREATE TABLE computed (id int PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED);
INSERT INTO computed (id, n) VALUES (1, 1), (2, 2);
UPDATE computed SET n = 5 WHERE id = 1;

CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE person (name text, m mood);
INSERT INTO person VALUES ('anna', 'ok'), ('ben', 'sad');
ALTER TYPE mood RENAME VALUE 'ok' TO 'fine';

CREATE TABLE widened (id int PRIMARY KEY, n int);
INSERT INTO widened VALUES (1, 1), (2, 2);
ALTER TABLE widened ADD COLUMN given text DEFAULT 'given';
ALTER TABLE widened ALTER n TYPE text USING n || ' pieces';
UPDATE widened SET n = 'none' WHERE id = 2;

CREATE TABLE rekeyed (a int PRIMARY KEY, v text);
INSERT INTO rekeyed VALUES (1, 'a'), (2, 'b');
UPDATE rekeyed SET v = 'c' WHERE a = 1;
DROP TABLE rekeyed;
CREATE TABLE rekeyed (b text PRIMARY KEY, c int);
INSERT INTO rekeyed VALUES ('x', 1), ('y', 2);
UPDATE rekeyed SET c = 3 WHERE b = 'x';

CREATE TABLE bare ();
INSERT INTO bare DEFAULT VALUES;

CREATE TABLE virtual (n int, twice int GENERATED ALWAYS AS (n * 2) VIRTUAL) PARTITION BY RANGE (n);
CREATE TABLE virtual_1 PARTITION OF virtual FOR VALUES FROM (0) TO (10);
INSERT INTO virtual VALUES (1), (2);
UPDATE virtual SET n = n + 1;
DELETE FROM virtual WHERE n = 2;

CREATE TABLE became_virtual (id int PRIMARY KEY, n int);
INSERT INTO became_virtual VALUES (1, 1), (2, 2);
ALTER TABLE became_virtual ADD COLUMN twice int GENERATED ALWAYS AS (n * 2) VIRTUAL;
UPDATE became_virtual SET n = 5 WHERE id = 1;

CREATE TABLE temporal (id int4range, valid daterange, v text, PRIMARY KEY (id, valid WITHOUT OVERLAPS));
INSERT INTO temporal VALUES ('[1,2)', '[2026-01-01,2026-02-01)', 'a'), ('[1,2)', '[2026-02-01,2026-03-01)', 'b');
UPDATE temporal SET v = 'c' WHERE v = 'a';
