-- An act of pgwitness itself takes the road of every other event: through the
-- write-ahead log of the audited database into the trail.
SELECT pgwitness.event(action => $1, resource_type => $2, resource_id => $3,
                       details => $4::jsonb, reason_note => $5)
