-- An insert is one file of data and not one for each column: each file is
-- synced by itself, and 150 of them took longer than everything else together.
-- Merged parts, which are larger, have a file for each column again.

-- +goose Up
ALTER TABLE audit_logs MODIFY SETTING min_bytes_for_wide_part = 67108864;
