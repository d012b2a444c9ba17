package setup

import "encoding/json"

// planRecord tells the trail what setup changes in a database that is audited
// already. Of the first setup the genesis and the entry start tell enough, and
// the slot was not there yet to carry more.
func (p *planner) planRecord() {
	if p.slot == nil || len(p.steps) == 0 {
		return
	}
	why := make([]string, len(p.steps))
	for i, s := range p.steps {
		why[i] = s.Why
	}
	text, err := json.Marshal(map[string]any{"role": p.server.Role, "steps": why})
	if err != nil && p.err == nil {
		p.err = err
	}
	p.addSQL("The trail is told what was changed.", "",
		"SELECT pgwitness.event(action => 'setup', resource_type => 'pgwitness.setup', resource_id => "+literal(p.server.Database)+
			", details => "+literal(string(text))+"::jsonb);")
}
