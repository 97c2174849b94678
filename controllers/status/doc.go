// Package status says what became of each ProxyService where its owner looks: in its status and in Events.
//
// Of is a pure function from the facts about one object to its status. Writer keeps the statuses of all objects in the API
// equal to the newest facts while this replica leads: one write a change, and none where nothing changed.
//
// It leaves finding the facts to its caller, and who leads to controllers/replica.
package status
