// Package apiclient speaks the part of the Huawei Cloud Workspace API that
// taking desktops away needs: a method asks one thing and is answered by a
// typed result or by an *Error that says what the caller may do next.
//
// It knows authentication (a given token, an IAM password token, AK/SK
// signing), endpoints, time-outs and the shapes of replies. It does not know
// queues, batches or retries: the only request it ever repeats is one that was
// refused because its token had expired. A 200 is handed on as it is, with the
// desktops the cloud refused listed in it; deciding what that means belongs to
// the caller.
//
// Every text in a result or an error was written by the cloud, or by something
// that answered in its place. It is hostile input; only Error.Error escapes it.
package apiclient
