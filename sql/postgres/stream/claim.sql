-- Who writes the event that follows in this transaction: actor $1 of type $2.
SELECT set_config('audit.actor_id', $1, true),
       set_config('audit.actor_type', $2, true),
       set_config('audit.source', 'pgwitness', true)
