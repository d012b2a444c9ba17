package audit

import "strconv"

// EntryTag is the first netstring of every preimage: format and version.
const EntryTag = "pgwitness/entry/v1"

// AppendNetstring appends ns(x) = len(x) ":" x "," (D. J. Bernstein's netstring).
func AppendNetstring[T ~string | ~[]byte](dst []byte, x T) []byte {
	dst = strconv.AppendUint(dst, uint64(len(x)), 10)
	dst = append(dst, ':')
	dst = append(dst, x...)
	return append(dst, ',')
}

// AppendText appends a nullable column: ns(t), or "n," for NULL.
func AppendText(dst []byte, t Text) []byte {
	if t == nil {
		return append(dst, 'n', ',')
	}
	return AppendNetstring(dst, t)
}

// AppendPreimage appends the bytes C that the content hash of e is taken over,
// as docs/chain-format.md lays them down. It reads the fields from ID to Salt
// and nothing else.
func AppendPreimage(dst []byte, e *Entry) []byte {
	dst = AppendNetstring(dst, EntryTag)
	dst = AppendNetstring(dst, e.Stream)
	dst = appendUint(dst, e.Sequence)
	dst = append(dst, "36:"...)
	dst = append(e.ID.Append(dst), ',')
	dst = appendInt(dst, e.Timestamp)

	dst = appendTexts(dst, e.ActorID, e.ActorEmail, e.ActorRole, e.ActorType)
	dst = appendTexts(dst, e.ResourceType, e.ResourceID, e.Action, e.OldValues, e.NewValues)
	dst = appendChanged(dst, e.Changed)
	dst = appendTexts(dst, e.Source, e.IPAddress, e.UserAgent)
	dst = appendTexts(dst, e.GeoCountry, e.GeoCity, e.GeoLat, e.GeoLon)
	dst = appendTexts(dst, e.ReasonCode, e.ReasonNote)
	dst = appendTexts(dst, e.Attribution, e.RequestID, e.TraceID, e.APIKeyID, e.DBUser, e.ApplicationName)
	dst = appendTexts(dst, e.SchemaName, e.TableName, e.Operation)

	dst = appendUint(dst, uint64(e.XID))
	dst = appendUint(dst, uint64(e.CommitLSN))
	dst = appendUint(dst, uint64(e.Ordinal))
	return AppendNetstring(dst, e.Salt[:])
}

func appendTexts(dst []byte, texts ...Text) []byte {
	for _, t := range texts {
		dst = AppendText(dst, t)
	}
	return dst
}

// appendChanged appends ns(ns(name) ns(name) …). The outer length is written
// first, so it is computed before the names are.
func appendChanged(dst []byte, names []string) []byte {
	size := 0
	for _, n := range names {
		size += decimals(uint64(len(n))) + 1 + len(n) + 1
	}
	dst = strconv.AppendInt(dst, int64(size), 10)
	dst = append(dst, ':')
	for _, n := range names {
		dst = AppendNetstring(dst, n)
	}
	return append(dst, ',')
}

// appendUint appends ns(dec(n)).
func appendUint(dst []byte, n uint64) []byte {
	dst = strconv.AppendInt(dst, int64(decimals(n)), 10)
	dst = append(dst, ':')
	dst = strconv.AppendUint(dst, n, 10)
	return append(dst, ',')
}

// appendInt appends ns(dec(n)) for a number that may be negative.
func appendInt(dst []byte, n int64) []byte {
	if n >= 0 {
		return appendUint(dst, uint64(n))
	}
	width := 1 + decimals(uint64(-n))
	dst = strconv.AppendInt(dst, int64(width), 10)
	dst = append(dst, ':')
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, ',')
}

// decimals is the number of ASCII digits of n.
func decimals(n uint64) int {
	d := 1
	for n >= 10 {
		n /= 10
		d++
	}
	return d
}
