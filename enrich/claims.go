package enrich

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// takeSession takes the session variables, the single ones before the JSON in
// audit.context. What that JSON says beyond our fields is kept in attribution.
func (a *attribution) takeSession(p *payload) {
	a.takeEvent(p.Event)
	for i := range a.fields {
		a.take(i, p.Claims[a.fields[i].name], fromSession)
	}
	text := p.Claims["context"]
	if text == "" {
		return
	}
	claims, err := decodeClaims(text)
	if err != nil {
		a.flag("invalid_context", text)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(claims)) {
		value := claims[key]
		if i := a.index(key); i >= 0 {
			a.take(i, scalar(value), fromSession)
			continue
		}
		if key == "traceparent" {
			a.takeTrace(scalar(value), fromSession)
			continue
		}
		a.claims = append(a.claims, pair{key, textOf(value)})
	}
}

// decodeClaims decodes a JSON object. Numbers keep their digits.
func decodeClaims(text string) (map[string]any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var claims map[string]any
	if err := d.Decode(&claims); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something stands behind the object")
	}
	return claims, nil
}

// scalar is the text of a JSON value that can stand in a column; "" for null
// and for what is made of several.
func scalar(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

// textOf is scalar, and JSON for what is made of several values.
func textOf(v any) string {
	switch v.(type) {
	case nil, map[string]any, []any:
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		_ = e.Encode(v) // what was decoded can be encoded, keys sorted
		return strings.TrimSuffix(b.String(), "\n")
	}
	return scalar(v)
}

// takeTrace takes the trace id of a W3C traceparent header, version 00:
// 00-<32 hex>-<16 hex>-<2 hex>. Another text is kept in a flag.
func (a *attribution) takeTrace(traceparent, from string) {
	if traceparent == "" {
		return
	}
	id, ok := traceOf(traceparent)
	if !ok {
		a.flag("invalid_traceparent", traceparent)
		return
	}
	a.take(traceID, id, from)
}

func traceOf(traceparent string) (id string, ok bool) {
	parts := strings.Split(strings.TrimSpace(traceparent), "-")
	if len(parts) < 4 || len(parts[0]) != 2 || parts[0] == "ff" || len(parts[1]) != 32 || len(parts[2]) != 16 || len(parts[3]) != 2 {
		return "", false
	}
	for _, part := range parts[:4] {
		if strings.Trim(part, "0123456789abcdef") != "" {
			return "", false
		}
	}
	return parts[1], strings.Trim(parts[1], "0") != ""
}

// believes reports whether the claims of a session user count. Without a
// configured list everybody's do.
func (r *rules) believes(user string) bool {
	if len(r.believed) == 0 {
		return true
	}
	for _, re := range r.believed {
		if re.MatchString(user) {
			return true
		}
	}
	return false
}

// takeClaims takes what the client asserts, most trusted source first. Of a
// user who is not believed it is kept in attribution, and names nobody.
func (a *attribution) takeClaims(p *payload, r *rules) {
	if r.believes(p.SessionUser) {
		a.takeSession(p)
		a.takeDirectory(p)
		a.takePresets(p)
		a.takeComments(p)
		return
	}
	said := newAttribution()
	said.personal = a.personal
	said.takeSession(p)
	said.takePresets(p)
	said.takeComments(p)
	for i := range said.fields {
		if f := &said.fields[i]; f.source != "" {
			a.disbelieved = append(a.disbelieved, pair{f.name, f.value})
		}
	}
	a.disbelieved = append(append(a.disbelieved, said.claims...), said.comment...)
	a.flags = append(a.flags, said.flags...)
}
