// Package leavers reads lists of leavers as people write them: CSV files, one id per
// line, or arguments. It reports all invalid rows of a list, so that its author can
// correct them at once.
//
//	l := leavers.New("hq", known)
//	err := l.Read(file)      // or ReadText, or Add
//	if l.BadRows == 0 { requests := l.Requests(api.OperationRequest{Ticket: "HR-1"}) }
package leavers
