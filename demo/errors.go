package demo

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

var (
	// errDeclined ends a transaction that the program itself gives up: the card
	// was declined, the shelf is empty. The deed has ended well all the same.
	errDeclined = errors.New("declined")

	// errLost wraps what ended a connection, or kept it from being made.
	errLost = errors.New("lost the connection")
)

// sqlState is the SQLSTATE that the server answered with, "" when it did not.
func sqlState(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code
	}
	return ""
}

// conflict reports a failure that is gone when the transaction is tried again:
// serialization failure, deadlock, lock not available.
func conflict(err error) bool {
	switch sqlState(err) {
	case "40001", "40P01", "55P03":
		return true
	}
	return false
}

// refused reports that the database does not want this change: a constraint
// (class 23), an exception that a trigger raised (class P0), or a guard (PW).
func refused(err error) bool {
	state := sqlState(err)
	return len(state) == 5 && (state[:2] == "23" || state[:2] == "P0" || state[:2] == "PW")
}

// noRoom reports that a connection was not made for a reason that passes: too
// many connections, or a server that starts, stops or is not there. A wrong
// password does not pass.
func noRoom(err error) bool {
	switch sqlState(err) {
	case "", "53300", "57P01", "57P02", "57P03":
		return true
	}
	return false
}

// RefusedCommit reports whether err, the end of a transaction, says that it was
// not committed. Where it does not, COMMIT may have been carried out: a server
// that goes down (class 57P) says so instead of what became of the transaction,
// and pgx takes a COMMIT whose connection broke ("conn closed") for one that was
// never sent, so that its SafeToRetry is not to be asked.
func RefusedCommit(err error) bool {
	state := sqlState(err)
	return state != "" && !strings.HasPrefix(state, "57P") || errors.Is(err, pgx.ErrTxCommitRollback)
}
