// Package app puts detachd together from its configuration, explicitly, top to
// bottom: the Redis client, the record and producer, the clients of the cloud,
// the worker. It holds no behaviour of its own beyond starting and stopping in
// the right order.
package app
