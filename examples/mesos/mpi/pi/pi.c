/* Computes pi: each rank sums its share of the midpoints of 4/(1+x*x), and rank 0 prints
   the sum of all, its distance from pi, and how many nodes took part. */
#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  int rank, ranks;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const long steps = 1000000;
  double part = 0, pi = 0;
  for (long i = rank; i < steps; i += ranks) {
    double x = (i + 0.5) / steps;
    part += 4.0 / (1.0 + x * x) / steps;
  }
  MPI_Reduce(&part, &pi, 1, MPI_DOUBLE, MPI_SUM, 0, MPI_COMM_WORLD);
  /* A node is known by the daemon that started its ranks: its rank 0 counts once. */
  const char *local = getenv("OMPI_COMM_WORLD_LOCAL_RANK");
  int first = local && atoi(local) == 0, nodes = 0;
  MPI_Reduce(&first, &nodes, 1, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD);
  if (rank == 0)
    printf("pi is %.10f, off by %.1e, by %d ranks on %d nodes\n", pi, fabs(pi - M_PI), ranks, nodes);
  MPI_Finalize();
  return 0;
}
