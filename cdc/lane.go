package cdc

import (
	"context"
	"time"

	"github.com/pgwitness/pgwitness/audit"
)

// lane is a road that the messages of pgoutput come along, in the order of the
// server. It is driven by one goroutine.
type lane interface {
	// next returns the next frame. It waits for one no longer than until the
	// deadline and no longer than ctx lives, and then returns a frame without
	// message. An error ends the lane.
	next(ctx context.Context, deadline time.Time) (frame, error)
	// confirm tells the server that everything below durable is stored: it
	// will never send that again, and may remove the write-ahead log of it.
	confirm(durable audit.LSN) error
	// close says goodbye. Unless ctx ends before, the server has processed the
	// last confirm when close returns.
	close(ctx context.Context) error
}

// frame is one step along a lane.
type frame struct {
	lsn     audit.LSN // of the message
	message []byte    // of pgoutput, valid until the following next; nil when there is none
	walEnd  audit.LSN // the server has looked at everything below; 0 when it does not say
	wanted  bool      // the server waits for a confirm
	more    bool      // another frame can be had without waiting
}
