-- A month that is over becomes one part, two days after its last entry came:
-- questions look into each part, and merges by size alone leave half a dozen of
-- each month for ever. It is one merge more in the life of an entry, in the
-- background, and takes as much free disk as the month has.

-- +goose Up
ALTER TABLE audit_logs MODIFY SETTING min_age_to_force_merge_seconds = 172800, min_age_to_force_merge_on_partition_only = 1;
