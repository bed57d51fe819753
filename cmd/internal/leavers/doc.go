// Package leavers reads lists of whose desktops are to be detached, as people
// write them: CSV files, ids one on a line, arguments. What is wrong with a list
// is noted row by row, so that who wrote it can mend all of it at once.
//
//	l := leavers.New("hq", known)
//	err := l.Read(file)      // or ReadText, or Add
//	if l.BadRows == 0 { requests := l.Requests(api.OperationRequest{Ticket: "HR-1"}) }
package leavers
