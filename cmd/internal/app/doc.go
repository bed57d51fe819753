// Package app wires detachd from its configuration, explicitly, top to bottom: the Redis
// client, the record and producer, the clients of the cloud, the worker. Apart from that it
// only starts and stops them in the right order.
package app
