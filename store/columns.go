package store

import (
	"strings"

	"github.com/ClickHouse/ch-go/proto"

	"github.com/pgwitness/pgwitness/audit"
)

// Columns is a block of entries, column by column: filled with Append and sent
// as Input, or received as Results and taken apart with Row. It is reused from
// block to block and belongs to one goroutine at a time.
type Columns struct {
	id        proto.ColUUID
	stream    *lowText
	sequence  proto.ColUInt64
	timestamp proto.ColDateTime64

	actorID, actorEmail, actorRole, actorType      *lowText
	resourceType, action                           *lowText
	resourceID, oldValues, newValues               textColumn
	changed                                        nameLists
	source, ipAddress, userAgent                   *lowText
	geoCountry, geoCity, geoLat, geoLon            *lowText
	reasonCode                                     *lowText
	reasonNote                                     textColumn
	attribution, apiKeyID, dbUser, applicationName *lowText
	requestID, traceID                             textColumn
	schemaName, tableName, operation               *lowText

	xid       proto.ColUInt32
	commitLSN proto.ColUInt64
	ordinal   proto.ColUInt32
	salt      proto.ColFixedStr16
	seal      proto.ColFixedStr64 // prev_hash || entry_hash

	input   proto.Input
	results proto.Results
	bytes   int

	preimages Preimages
}

// NewColumns makes an empty block.
func NewColumns() *Columns {
	c := &Columns{stream: newLowText(false), changed: nameLists{names: newLowText(false)}}
	c.timestamp.WithPrecision(proto.PrecisionMicro)
	for _, t := range []**lowText{
		&c.actorID, &c.actorEmail, &c.actorRole, &c.actorType, &c.resourceType, &c.action,
		&c.source, &c.ipAddress, &c.userAgent, &c.geoCountry, &c.geoCity, &c.geoLat, &c.geoLon,
		&c.reasonCode, &c.attribution, &c.apiKeyID, &c.dbUser, &c.applicationName,
		&c.schemaName, &c.tableName, &c.operation,
	} {
		*t = newLowText(true)
	}
	for _, n := range c.named() {
		c.input = append(c.input, proto.InputColumn{Name: n.name, Data: n.data})
		c.results = append(c.results, proto.ResultColumn{Name: n.name, Data: n.data})
	}
	return c
}

type namedColumn struct {
	name string
	data proto.Column
}

// named lists the columns of audit_logs as they travel, in both directions.
// stored_at is not among them: the server fills it in, and no hash covers it.
func (c *Columns) named() []namedColumn {
	return []namedColumn{
		{"id", &c.id}, {"stream", c.stream}, {"sequence", &c.sequence}, {"timestamp", &c.timestamp},
		{"actor_id", c.actorID}, {"actor_email", c.actorEmail}, {"actor_role", c.actorRole}, {"actor_type", c.actorType},
		{"resource_type", c.resourceType}, {"resource_id", &c.resourceID}, {"action", c.action},
		{"old_values", &c.oldValues}, {"new_values", &c.newValues}, {"changed", &c.changed},
		{"source", c.source}, {"ip_address", c.ipAddress}, {"user_agent", c.userAgent},
		{"geo_country", c.geoCountry}, {"geo_city", c.geoCity}, {"geo_lat", c.geoLat}, {"geo_lon", c.geoLon},
		{"reason_code", c.reasonCode}, {"reason_note", &c.reasonNote},
		{"attribution", c.attribution}, {"request_id", &c.requestID}, {"trace_id", &c.traceID},
		{"api_key_id", c.apiKeyID}, {"db_user", c.dbUser}, {"application_name", c.applicationName},
		{"schema_name", c.schemaName}, {"table_name", c.tableName}, {"operation", c.operation},
		{"xid", &c.xid}, {"commit_lsn", &c.commitLSN}, {"ordinal", &c.ordinal},
		{"salt", &c.salt}, {"seal", &c.seal},
	}
}

// SelectList is the column list of a SELECT whose result Columns decodes. The
// aliases prev_hash and entry_hash come with seal.
func SelectList() string {
	var names []string
	for _, n := range NewColumns().named() {
		names = append(names, n.name)
	}
	return strings.Join(names, ", ")
}

// Input is the block for an INSERT.
func (c *Columns) Input() proto.Input { return c.input }

// Results is the block for a SELECT of SelectList.
func (c *Columns) Results() proto.Results { return c.results }

// Rows is the number of entries in the block.
func (c *Columns) Rows() int { return len(c.sequence) }

// Bytes is the size of what was appended since Reset, uncompressed and about.
func (c *Columns) Bytes() int { return c.bytes }

// Reset empties the block and keeps its memory.
func (c *Columns) Reset() {
	c.input.Reset()
	c.bytes = 0
}

// Append copies e into the block.
func (c *Columns) Append(e *audit.Entry) {
	c.id = append(c.id, [16]byte(e.ID))
	c.stream.appendName(e.Stream)
	c.sequence = append(c.sequence, e.Sequence)
	c.timestamp.Data = append(c.timestamp.Data, proto.DateTime64(e.Timestamp))

	c.actorID.append(e.ActorID)
	c.actorEmail.append(e.ActorEmail)
	c.actorRole.append(e.ActorRole)
	c.actorType.append(e.ActorType)

	c.resourceType.append(e.ResourceType)
	c.resourceID.append(e.ResourceID)
	c.action.append(e.Action)
	c.oldValues.append(e.OldValues)
	c.newValues.append(e.NewValues)
	c.changed.append(e.Changed)

	c.source.append(e.Source)
	c.ipAddress.append(e.IPAddress)
	c.userAgent.append(e.UserAgent)
	c.geoCountry.append(e.GeoCountry)
	c.geoCity.append(e.GeoCity)
	c.geoLat.append(e.GeoLat)
	c.geoLon.append(e.GeoLon)

	c.reasonCode.append(e.ReasonCode)
	c.reasonNote.append(e.ReasonNote)

	c.attribution.append(e.Attribution)
	c.requestID.append(e.RequestID)
	c.traceID.append(e.TraceID)
	c.apiKeyID.append(e.APIKeyID)
	c.dbUser.append(e.DBUser)
	c.applicationName.append(e.ApplicationName)

	c.schemaName.append(e.SchemaName)
	c.tableName.append(e.TableName)
	c.operation.append(e.Operation)
	c.appendPosition(e)
	c.bytes += fixedBytes + len(e.ResourceID) + len(e.OldValues) + len(e.NewValues) +
		len(e.ReasonNote) + len(e.RequestID) + len(e.TraceID) + 4*len(e.Changed)
}

// fixedBytes is what every entry takes: numbers, hashes, and one dictionary
// key of about one byte for each of the other columns.
const fixedBytes = 16 + 8 + 8 + 4 + 8 + 4 + 16 + 64 + 36

func (c *Columns) appendPosition(e *audit.Entry) {
	c.xid = append(c.xid, e.XID)
	c.commitLSN = append(c.commitLSN, uint64(e.CommitLSN))
	c.ordinal = append(c.ordinal, e.Ordinal)
	c.salt = append(c.salt, e.Salt)
	var seal [64]byte
	copy(seal[:32], e.PrevHash[:])
	copy(seal[32:], e.Hash[:])
	c.seal = append(c.seal, seal)
}

// Row fills e with entry i of a block that was read. Every field of e is set.
// The texts are lent: they are valid until the block is reset or receives the
// next rows; Clone keeps an entry longer. The array behind e.Changed is reused
// when it is large enough.
func (c *Columns) Row(i int, e *audit.Entry) {
	*e = audit.Entry{
		ID: audit.UUID(c.id[i]), Stream: c.stream.name(i), Sequence: c.sequence[i], Timestamp: int64(c.timestamp.Data[i]),

		ActorID: c.actorID.row(i), ActorEmail: c.actorEmail.row(i), ActorRole: c.actorRole.row(i), ActorType: c.actorType.row(i),

		ResourceType: c.resourceType.row(i), ResourceID: c.resourceID.row(i), Action: c.action.row(i),
		OldValues: c.oldValues.row(i), NewValues: c.newValues.row(i), Changed: c.changed.row(e.Changed[:0], i),

		Source: c.source.row(i), IPAddress: c.ipAddress.row(i), UserAgent: c.userAgent.row(i),
		GeoCountry: c.geoCountry.row(i), GeoCity: c.geoCity.row(i), GeoLat: c.geoLat.row(i), GeoLon: c.geoLon.row(i),

		ReasonCode: c.reasonCode.row(i), ReasonNote: c.reasonNote.row(i),

		Attribution: c.attribution.row(i), RequestID: c.requestID.row(i), TraceID: c.traceID.row(i),
		APIKeyID: c.apiKeyID.row(i), DBUser: c.dbUser.row(i), ApplicationName: c.applicationName.row(i),

		SchemaName: c.schemaName.row(i), TableName: c.tableName.row(i), Operation: c.operation.row(i),
		XID: c.xid[i], CommitLSN: audit.LSN(c.commitLSN[i]), Ordinal: c.ordinal[i],
		Salt: c.salt[i], PrevHash: audit.Hash(c.seal[i][:32]), Hash: audit.Hash(c.seal[i][32:]),
	}
}
