package enrich

import (
	"encoding/json"
	"fmt"
)

// claimSet is the session variables of a message, by the names behind audit.
type claimSet map[string]string

// shortNames are what the claims are called in a message, because each of its
// bytes is paid for in the audited database. Messages that older functions wrote
// have the whole names, and are read as well.
func shortNames() map[string]string {
	return map[string]string{
		"i": "actor_id", "e": "actor_email", "r": "actor_role", "t": "actor_type",
		"c": "reason_code", "n": "reason_note", "a": "ip_address", "u": "user_agent",
		"s": "source", "q": "request_id", "k": "api_key_id", "m": "mfa_at", "x": "context",
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *claimSet) UnmarshalJSON(text []byte) error {
	var said map[string]string
	if err := json.Unmarshal(text, &said); err != nil {
		return fmt.Errorf("decode claims: %w", err)
	}
	short := shortNames()
	*c = make(claimSet, len(said))
	for name, value := range said {
		if whole, ok := short[name]; ok {
			name = whole
		}
		(*c)[name] = value
	}
	return nil
}
