package trail

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/pgwitness/pgwitness/audit"
)

// AppendJSON appends the entry as one JSON object on one line, without a
// newline behind it. The keys are the columns of audit_logs, always all of
// them, in the order of the table. old_values, new_values and attribution are
// embedded as objects; a text among them that is no JSON stays a string. Times
// are RFC 3339 with microseconds, hashes and salt are hexadecimal, commit_lsn
// is in the form 0/16B3748, NULL is null.
//
// Nothing is shortened. Characters that a terminal could act upon are written
// as \u escapes, which leaves every value the same. A byte that is no UTF-8 is
// written as the lone surrogate \udc80 … \udcff, as entries themselves do.
func AppendJSON(dst []byte, e *audit.Entry) []byte {
	dst = append(dst, `{"id":"`...)
	dst = e.ID.Append(dst)
	dst = append(dst, `","stream":`...)
	dst = appendString(dst, e.Stream)
	dst = append(dst, `,"sequence":`...)
	dst = strconv.AppendUint(dst, e.Sequence, 10)
	dst = append(dst, `,"timestamp":"`...)
	dst = time.UnixMicro(e.Timestamp).UTC().AppendFormat(dst, jsonTime)
	dst = append(dst, '"')

	dst = appendTexts(dst, column{"actor_id", e.ActorID}, column{"actor_email", e.ActorEmail}, column{"actor_role", e.ActorRole},
		column{"actor_type", e.ActorType}, column{"resource_type", e.ResourceType}, column{"resource_id", e.ResourceID},
		column{"action", e.Action})
	dst = appendObject(dst, "old_values", e.OldValues)
	dst = appendObject(dst, "new_values", e.NewValues)
	dst = appendNames(dst, e.Changed)
	dst = appendTexts(dst, column{"source", e.Source}, column{"ip_address", e.IPAddress}, column{"user_agent", e.UserAgent},
		column{"geo_country", e.GeoCountry}, column{"geo_city", e.GeoCity}, column{"geo_lat", e.GeoLat}, column{"geo_lon", e.GeoLon},
		column{"reason_code", e.ReasonCode}, column{"reason_note", e.ReasonNote})
	dst = appendObject(dst, "attribution", e.Attribution)
	dst = appendTexts(dst, column{"request_id", e.RequestID}, column{"trace_id", e.TraceID}, column{"api_key_id", e.APIKeyID},
		column{"db_user", e.DBUser}, column{"application_name", e.ApplicationName},
		column{"schema_name", e.SchemaName}, column{"table_name", e.TableName}, column{"operation", e.Operation})
	return appendPosition(dst, e)
}

func appendPosition(dst []byte, e *audit.Entry) []byte {
	dst = append(dst, `,"xid":`...)
	dst = strconv.AppendUint(dst, uint64(e.XID), 10)
	dst = append(dst, `,"commit_lsn":"`...)
	dst = append(dst, e.CommitLSN.String()...)
	dst = append(dst, `","ordinal":`...)
	dst = strconv.AppendUint(dst, uint64(e.Ordinal), 10)
	dst = append(dst, `,"salt":"`...)
	dst = hex.AppendEncode(dst, e.Salt[:])
	dst = append(dst, `","prev_hash":"`...)
	dst = hex.AppendEncode(dst, e.PrevHash[:])
	dst = append(dst, `","entry_hash":"`...)
	dst = hex.AppendEncode(dst, e.Hash[:])
	return append(dst, `"}`...)
}

// jsonTime is RFC 3339 with microseconds.
const jsonTime = "2006-01-02T15:04:05.000000Z"

type column struct {
	name string
	text audit.Text
}

func appendTexts(dst []byte, columns ...column) []byte {
	for _, c := range columns {
		dst = appendKey(dst, c.name)
		if c.text == nil {
			dst = append(dst, "null"...)
			continue
		}
		dst = appendString(dst, c.text)
	}
	return dst
}

func appendKey(dst []byte, name string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

// appendObject embeds a JSON text. Outside of strings JSON is ASCII, so that
// escaping the rest character by character changes no value.
func appendObject(dst []byte, name string, text audit.Text) []byte {
	dst = appendKey(dst, name)
	if text == nil {
		return append(dst, "null"...)
	}
	if !json.Valid(text) {
		return appendString(dst, text)
	}
	if bytes.ContainsAny(text, "\t\n\r") {
		var line bytes.Buffer
		if err := json.Compact(&line, text); err == nil {
			text = line.Bytes()
		}
	}
	return appendSafe(dst, text, false)
}

func appendNames(dst []byte, names []string) []byte {
	dst = append(dst, `,"changed":[`...)
	for i, n := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, n)
	}
	return append(dst, ']')
}

func appendString[T ~string | ~[]byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	dst = appendSafe(dst, []byte(s), true)
	return append(dst, '"')
}

// appendSafe appends text, with everything that is not printable escaped; in a
// string that is quoted here, quotes and backslashes as well.
func appendSafe(dst, text []byte, quoted bool) []byte {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1:
			dst = appendUnit(dst, 0xdc00|rune(text[0]))
		case quoted && (r == '"' || r == '\\'):
			dst = append(dst, '\\', byte(r))
		case printable(r):
			dst = append(dst, text[:size]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			dst = appendUnit(appendUnit(dst, high), low)
		default:
			dst = appendUnit(dst, r)
		}
		text = text[size:]
	}
	return dst
}

// appendUnit appends \u and four digits.
func appendUnit(dst []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}
