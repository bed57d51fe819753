package tasks

// Codes that a worker gives to failures and calls itself. Guards that read a desktop have
// further codes, see policy.Verdicts; all others are the cloud's.
const (
	CodeUnconfirmed    = "UNCONFIRMED"      // accepted by the cloud, or perhaps, and not confirmed in time
	CodeDeadline       = "DEADLINE"         // the deadline of the operation passed before it was sent
	CodeNoReply        = "NO_REPLY"         // no reply came
	CodeNotSent        = "NOT_SENT"         // the call was recorded as leaving, and did not leave
	CodeNotAPI         = "NOT_API"          // something else than the API answered
	CodeBadRequest     = "BAD_REQUEST"      // the client rejected the request and did not send it
	CodeUnknown        = "UNKNOWN"          // the cloud gave no code
	CodeNotFound       = "NOT_FOUND"        // not in the list of desktops, and no reading ever showed it
	CodeUserName       = "USER_NAME"        // no user has this name, but one has it in another form
	CodeUserUnknown    = "USER_UNKNOWN"     // Workspace does not know the user, or refuses to say
	CodeUserDesktops   = "USER_DESKTOPS"    // Workspace counts desktops of the user, and lists none
	CodeComputerName   = "COMPUTER_NAME"    // no computer, or more than one, has this name
	CodeUndoNoRight    = "UNDO_NO_RIGHT"    // the cloud refuses to give any desktop back
	CodeRecalled       = "RECALLED"         // one of several users of the row was recalled
	CodeNamedForOthers = "NAMED_FOR_OTHERS" // the operation names the desktop for other users
)
