set(Threads_FOUND TRUE)
