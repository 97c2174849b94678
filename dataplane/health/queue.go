package health

// A queue holds checks, the one that is due first in front: a heap in which each knows its place.
type queue []*check

func (q *queue) push(c *check) {
	c.at = len(*q)
	*q = append(*q, c)
	q.up(c.at)
}

func (q *queue) pop() *check {
	first := (*q)[0]
	q.remove(first)
	return first
}

func (q *queue) remove(c *check) {
	at, last := c.at, len(*q)-1
	q.swap(at, last)
	(*q)[last] = nil
	*q = (*q)[:last]
	c.at = -1
	if at < last {
		q.down(at)
		q.up(at)
	}
}

func (q *queue) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !q.before(i, parent) {
			return
		}
		q.swap(i, parent)
		i = parent
	}
}

func (q *queue) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(*q); child++ {
			if q.before(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		q.swap(i, least)
		i = least
	}
}

func (q *queue) before(i, j int) bool { return (*q)[i].due < (*q)[j].due }

func (q *queue) swap(i, j int) {
	(*q)[i], (*q)[j] = (*q)[j], (*q)[i]
	(*q)[i].at, (*q)[j].at = i, j
}
