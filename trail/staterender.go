package trail

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Render tells the state for reading: a sentence, and the columns as a table.
// It ends with a newline. Explain adds nothing: the table says for each column
// since when it has its value, and by whom.
func (s *State) Render(style Style) string {
	var b strings.Builder
	b.WriteString(s.headline())
	b.WriteByte('\n')
	if len(s.Columns) > 0 {
		b.WriteByte('\n')
		s.table(&b, style)
	}
	if s.Standing == Exists && !s.Complete {
		b.WriteString("\nThe trail did not see this row being created: its table may have further columns.\n")
	}
	return b.String()
}

func (s *State) headline() string {
	row := word(s.ResourceType) + " " + word(s.ResourceID)
	when := "now"
	if !s.At.IsZero() {
		when = "at " + s.At.UTC().Format(timeLayout)
	}
	switch s.Standing {
	case Exists:
		text := row + " existed " + when
		if s.At.IsZero() {
			text = row + " exists"
		}
		if s.Created != nil {
			text += ", created " + s.Created.words()
		}
		if s.RenamedFrom != "" {
			text += ". It was " + word(s.ResourceType) + " " + word(s.RenamedFrom) + " before"
		}
		return text + "."
	case Deleted:
		return row + " was not there " + when + ": it was deleted " + s.Changed.words() + ". It last was:"
	case Truncated:
		return row + " was not there " + when + ": its whole table was emptied " + s.Changed.words() + ". It last was:"
	case Renamed:
		return row + " was not there " + when + ": its key was changed " + s.Changed.words() +
			"; it is " + word(s.ResourceType) + " " + word(s.RenamedTo) + " since. It last was:"
	case NotYet:
		if s.RenamedFrom != "" {
			return row + " was not there yet " + when + ": " + word(s.ResourceType) + " " + word(s.RenamedFrom) +
				" was given this key " + s.Created.words() + "."
		}
		return row + " was not there yet " + when + ": it was created " + s.Created.words() + "."
	}
	if !s.Recorded {
		return "The trail had not begun " + when + ", so nothing is known of " + row + "."
	}
	return "No entry tells of " + row + "; it may never have been there, or be unchanged since before the trail."
}

// words tells when and by whom: on … by …, entry 4711.
func (m *Mark) words() string {
	return "on " + m.Time.Format(timeLayout) + " by " + m.Actor + " (entry " + strconv.FormatUint(m.Sequence, 10) + ")"
}

// table writes one line per column: name, value, since when and by whom.
func (s *State) table(b *strings.Builder, style Style) {
	names, values := make([]string, len(s.Columns)), make([]string, len(s.Columns))
	nameWidth, valueWidth := 0, 0
	for i, c := range s.Columns {
		names[i], values[i] = word(c.Name), render(c.Value, style.width())
		nameWidth = max(nameWidth, utf8.RuneCountInString(names[i]))
		valueWidth = max(valueWidth, utf8.RuneCountInString(values[i]))
	}
	plain := sentence{style: style}
	for i, c := range s.Columns {
		value := values[i] + pad(values[i], valueWidth)
		if c.Value.Kind == Unknown || c.Value.Kind == Null {
			value = plain.painted(dim, value)
		}
		b.WriteString("  " + names[i] + pad(names[i], nameWidth) + "  " + value + "  " + plain.painted(dim, c.since()) + "\n")
	}
}

func pad(s string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

func (c StateColumn) since() string {
	switch {
	case c.Set != nil:
		return "since " + c.Set.Time.Format(timeLayout) + "  #" + strconv.FormatUint(c.Set.Sequence, 10) + "  " + c.Set.Actor
	case c.Told != nil:
		if c.Told.Action == "baseline" {
			return "since before the trail saw it; found in #" + strconv.FormatUint(c.Told.Sequence, 10)
		}
		return "since before the trail saw it; told by the old value in #" + strconv.FormatUint(c.Told.Sequence, 10)
	case c.Value.Known():
		return "since before the trail saw it"
	}
	return "no entry tells"
}

// MarshalJSON renders the state as one object. "values" has the columns that
// are known, in the form of new_values; "unknown" names the others.
func (s *State) MarshalJSON() ([]byte, error) {
	values := []byte{'{'}
	unknown := []string{}
	for _, c := range s.Columns {
		if !c.Value.Known() {
			unknown = append(unknown, c.Name)
			continue
		}
		if len(values) > 1 {
			values = append(values, ',')
		}
		values = append(appendString(values, c.Name), ':')
		values = c.Value.appendJSON(values)
	}
	out := struct {
		Stream       string            `json:"stream"`
		ResourceType string            `json:"resource_type"`
		ResourceID   string            `json:"resource_id"`
		Schema       string            `json:"schema_name,omitempty"`
		Table        string            `json:"table_name,omitempty"`
		At           *string           `json:"at"` // null: the present
		Sequence     *uint64           `json:"sequence"`
		Standing     Standing          `json:"standing"`
		Complete     bool              `json:"complete"`
		Values       json.RawMessage   `json:"values"`
		Unknown      []string          `json:"unknown"`
		Since        map[string]uint64 `json:"since"` // column → sequence of the entry that set it
		Told         map[string]uint64 `json:"told_by_later_entry,omitempty"`
		Created      *Mark             `json:"created"`
		Changed      *Mark             `json:"changed"`
		RenamedTo    string            `json:"renamed_to,omitempty"`
		RenamedFrom  string            `json:"renamed_from,omitempty"`
	}{
		Stream: s.Stream, ResourceType: s.ResourceType, ResourceID: s.ResourceID, Schema: s.Schema, Table: s.Table,
		Standing: s.Standing, Complete: s.Complete, Values: append(values, '}'), Unknown: unknown,
		Since: map[string]uint64{}, Told: map[string]uint64{},
		Created: s.Created, Changed: s.Changed, RenamedTo: s.RenamedTo, RenamedFrom: s.RenamedFrom,
	}
	if !s.At.IsZero() {
		at := s.At.UTC().Format(jsonTime)
		out.At = &at
	}
	if s.Recorded {
		out.Sequence = &s.Sequence
	}
	for _, c := range s.Columns {
		if c.Set != nil {
			out.Since[c.Name] = c.Set.Sequence
		}
		if c.Told != nil {
			out.Told[c.Name] = c.Told.Sequence
		}
	}
	text, err := json.Marshal(out)
	return appendSafe(nil, text, false), err
}

// appendJSON appends the value as it stands in new_values.
func (v Value) appendJSON(dst []byte) []byte {
	switch v.Kind {
	case Unknown, Null:
		return append(dst, "null"...)
	case String:
		return appendString(dst, v.Text)
	}
	return append(dst, v.Text...)
}

// MarshalJSON renders the mark with its time in RFC 3339.
func (m *Mark) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Sequence uint64 `json:"sequence"`
		Time     string `json:"timestamp"`
		Action   string `json:"action"`
		Actor    string `json:"actor"`
	}{m.Sequence, m.Time.UTC().Format(jsonTime), m.Action, m.Actor})
}
