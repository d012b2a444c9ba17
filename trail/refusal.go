package trail

import (
	"encoding/json"
	"strings"

	"github.com/pgwitness/pgwitness/audit"
)

// refusal tells which guard said no, what it missed, and what the row would
// have been.
func (s *sentence) refusal(details Row) {
	guard := details.Get("guard")
	if guard.Kind == Unknown {
		s.list(": ", details)
		return
	}
	s.add(": guard ", render(guard, s.style.width()))
	var missing []string
	// What is not a list of words was not written by a guard of ours, and is left out.
	if json.Unmarshal([]byte(details.Get("missing").Text), &missing) == nil && len(missing) > 0 {
		for i, m := range missing {
			missing[i] = name(m, 40)
		}
		s.add(" asks for ", strings.Join(missing, ", "))
	}
	if row, err := ParseRow(audit.Text(details.Get("row").Text)); err == nil {
		s.list("; ", row)
	}
}
