// Package apiclient is a client for the part of the Huawei Cloud Workspace API that
// detaching desktops needs. Each method of Client returns a typed result, or an *Error
// that says whether the request may have been executed and what is safe to do next.
//
// It covers authentication (StaticToken, PasswordToken, AKSK), endpoints, time-outs and
// the formats of replies. It has no queues, batches or retries: it repeats a request only
// if its token had expired. It does not interpret a 200 that lists refused desktops; that
// is up to the caller.
//
// Every text in a result or an error comes from the cloud, or from something that answered
// in its place. It is hostile input; only Error.Error escapes it.
package apiclient
