// What TestRecipes runs the recipe for Prisma with. RECIPE is replaced by the
// code of docs/recipes.md.
'use strict';

const { PrismaClient } = require('@prisma/client');
const { PrismaPg } = require('@prisma/adapter-pg');

// One connection for all: whatever stays on it shows.
const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: process.env.DATABASE_URL, max: 1 }) });

RECIPE

(async () => {
  const item = process.env.ITEM;
  await asUser('u-17').orders.create({ data: { item } });
  await asUser('u-42').orders.updateMany({ where: { item }, data: { total: 1 } });
  await prisma.orders.updateMany({ where: { item }, data: { total: 2 } }); // nobody
  await prisma.$transaction(async (tx) => { // as the page says of interactive ones
    await tx.$executeRaw`SELECT set_config('audit.actor_id', ${'u-43'}, true)`;
    await tx.orders.updateMany({ where: { item }, data: { total: 3 } });
  });
  await prisma.$disconnect();
})();
